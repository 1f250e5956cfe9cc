"""Results as pictures and pages: plots, Markdown, HTML. Reads recorded JSON alone; nothing is computed again."""
