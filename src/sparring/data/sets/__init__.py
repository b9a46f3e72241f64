"""The named sets."""
