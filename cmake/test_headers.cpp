// Nothing but the place where the tests' precompiled header is made.
int main() {}
