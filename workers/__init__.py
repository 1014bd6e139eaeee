"""Background processes: the clock, which enqueues due work, and jobs that call service functions."""
