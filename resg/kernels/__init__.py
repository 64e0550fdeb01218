"""Operations that carry the model's cost, each behind one function with several backends."""
