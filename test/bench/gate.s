// The compiler takes a function without a body only where there is assembly.
