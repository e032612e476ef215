"""What a task is and what may become of it; what people are told of it. Pure."""
