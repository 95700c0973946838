"""What dies, dies at the worst moment."""
