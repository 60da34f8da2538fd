// Package soak lets a lab with hubd live through random faults and holds it, again and
// again, against a model of who should reach whom. The model asks the cloud and reads the
// config file, and knows nothing of hubd: it imports no package of hub.
//
// A run is a pure sequence of its seed, but for time: the seed is printed, and the flags
// -seed and -minutes repeat it.
package soak
