"""Alert rules, their states, who is told and when, and what may be done about them. Pure: time and results are arguments."""
