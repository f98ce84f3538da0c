"""What is to be done on the table: tasks, starts, rewards, and the expert who can do it."""
