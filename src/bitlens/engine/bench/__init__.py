"""A packed net timed beside other engines in one run, on its float twin."""
