"""The pages and deeds of the console, one subject each. They read the visit, call the service layer, and name a template."""
