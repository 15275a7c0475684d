"""What the fixtures of the end-to-end tests are made of."""
