"""Pages in a browser, each of them one small app; the arm moves the same without them."""
