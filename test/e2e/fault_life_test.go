package e2e

// faultsOfLife are what happens to hubd itself.
var faultsOfLife = []fault{}
