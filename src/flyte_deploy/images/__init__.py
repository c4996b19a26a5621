"""Images: what they hold, whether they are there, who builds them."""
