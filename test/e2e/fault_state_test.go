package e2e

// faultsOfState are what happens to files, and at which instruction hubd dies.
var faultsOfState = []fault{}
