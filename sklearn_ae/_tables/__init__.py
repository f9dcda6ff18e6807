"""Tables whose columns are numbers and categories, as matrices of numbers and back."""
