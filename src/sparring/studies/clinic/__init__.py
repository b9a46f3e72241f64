"""The clinic: failures that are planted, and healthy trainings, to measure how often the doctor is right."""
