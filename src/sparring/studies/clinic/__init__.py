"""The clinic: trains cases with an injected fault, and healthy controls, to measure how often the doctor is right."""
