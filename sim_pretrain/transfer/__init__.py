"""What is checked before a policy goes to the arm."""
