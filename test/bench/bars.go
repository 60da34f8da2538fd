package main

// bars lists the measurements in the order of the design's table.
func bars() []bar {
	return []bar{
		{"binary", binarySize},
		{"exposure", sandbox},
	}
}
