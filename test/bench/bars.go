package main

// bars lists the measurements in the order of the design's table.
func bars() []bar {
	return []bar{
		{"change", oneChange},
		{"idle", idle},
		{"sync", fullSync},
		{"binary", binarySize},
		{"exposure", sandbox},
	}
}
