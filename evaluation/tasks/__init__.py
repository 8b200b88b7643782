"""Task forms: everything that turns a file or an operator name into a task the judge can run."""
