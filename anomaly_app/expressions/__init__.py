"""SQL expressions: text to syntax tree to typed Python source."""
