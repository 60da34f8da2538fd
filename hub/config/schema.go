package config

// schema lists the keys of every mapping of the file. [] stands for any item of a
// list, * for any account id.
var schema = map[string][]string{
	"": {"version", "mode", "poll", "hub", "aws", "accounts", "spokes", "protect", "vpn",
		"safety", "masq", "kernel", "control", "metrics", "log", "state"},
	"hub":               {"name", "region", "vpc", "instance", "interfaces"},
	"hub.interfaces[]":  {"name", "eni"},
	"aws":               {"role", "external_id", "regions", "tables", "return_route", "override", "endpoint", "allow_insecure_endpoint"},
	"aws.tables":        {"hub", "spoke"},
	"accounts.*":        {"name", "exclude", "role", "external_id", "tables"},
	"accounts.*.tables": {"spoke"},
	"spokes":            {"from", "allow"},
	"vpn[]": {"name", "interfaces", "pools", "sites", "client_dir", "own_files", "status",
		"aggregates", "to_hub", "other_traffic"},
	"vpn[].sites[]": {"name", "client", "networks"},
	"safety":        {"removals_after", "max_removed"},
	"masq":          {"ownership", "source", "max_flows"},
	"kernel":        {"sysctls"},
	"control":       {"socket", "group"},
	"metrics":       {"listen"},
	"log":           {"level", "format"},
}
