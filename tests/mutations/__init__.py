"""`make test-mutations`: six ways to break an invariant, each as a patch of the code, each shown to be caught.

A patch file says first what it breaks and, after `Tests:`, which files of tests look. It is applied to a copy of the tree,
and the tests are run against that copy. What survives is a missing test.
"""
