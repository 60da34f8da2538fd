package main

// bars lists the measurements in the order of the design's table.
func bars() []bar {
	return []bar{
		{"arrival", arrival},
		{"latency", latency},
		{"change", oneChange},
		{"idle", idle},
		{"quiet", quiet},
		{"sync", fullSync},
		{"flush", flush},
		{"packet", perPacket},
		{"throughput", throughput},
		{"memory", memory},
		{"binary", binarySize},
		{"exposure", sandbox},
	}
}
