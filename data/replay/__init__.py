"""What is sampled from memory."""
