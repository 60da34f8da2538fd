package e2e

// faultsOfKernel are what others do to links, routes, rules and settings.
var faultsOfKernel = []fault{}
