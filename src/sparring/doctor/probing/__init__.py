"""What the doctor measures while a run trains."""
