"""Networks: their graph made sound, compared with its source, made smaller, and their bundle."""
