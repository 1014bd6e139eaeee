"""Background work: the clock that enqueues what is due, and thin jobs that ask a verb."""
