package e2e

// faultsOfRoutes are what becomes of VPC routes and peerings.
var faultsOfRoutes = []fault{}
