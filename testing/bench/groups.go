package bench

// Groups are all groups, in the order in which they run: those that need no virtual machine first.
func Groups() []Group {
	return []Group{
		{Name: "native", Run: native},
		{Name: "lab", Run: inLab},
	}
}
