"""What several test modules share: acts and questions in the words of one subject."""
