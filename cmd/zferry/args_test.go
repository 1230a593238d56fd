package main

import (
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	tests := []struct {
		arg  string
		want endpoint
	}{
		{"tank", endpoint{dataset: "tank"}},
		{"tank/data", endpoint{dataset: "tank/data"}},
		{"tank/a:b", endpoint{dataset: "tank/a:b"}},
		{"tank/a[1]:b", endpoint{dataset: "tank/a[1]:b"}},
		{":po:ol/a", endpoint{dataset: "po:ol/a"}},
		{"nas2:backup", endpoint{host: "nas2", dataset: "backup"}},
		{"root@nas2:backup/data", endpoint{user: "root", host: "nas2", dataset: "backup/data"}},
		{"root@nas2:po:ol/data", endpoint{user: "root", host: "nas2", dataset: "po:ol/data"}},
		{"ann@corp.example@nas2.example:tank", endpoint{user: "ann@corp.example", host: "nas2.example", dataset: "tank"}},
		{"192.0.2.7:tank", endpoint{host: "192.0.2.7", dataset: "tank"}},
		{"root@[fe80::1%eth0]:tank/a", endpoint{user: "root", host: "fe80::1%eth0", dataset: "tank/a"}},
		{"[::1]:tank", endpoint{host: "::1", dataset: "tank"}},
		{"nas2:tank/with space", endpoint{host: "nas2", dataset: "tank/with space"}},
	}
	for _, tt := range tests {
		t.Run(tt.arg, func(t *testing.T) {
			got, err := parseEndpoint(tt.arg)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if text := got.String(); text != tt.arg {
				t.Errorf("String() = %q", text)
			}
		})
	}
}

func TestParseEndpointRefuses(t *testing.T) {
	tests := []struct {
		arg, want string
	}{
		{"", "no dataset"},
		{"root@nas2:", "no dataset"},
		{":", "no dataset"},
		{"/tank/data", "not a path: leave out the first slash if the dataset is tank/data"},
		{"root@nas2:/tank/data", "not a path"},
		{"tank/", "leave out the last slash"},
		{"tank@snap", "not a snapshot"},
		{"nas2:tank@snap", "not a snapshot"},
		{"tank#mark", "not a bookmark"},
		{"-tank", "cannot begin with a dash"},
		{"ssh://root@nas2/tank", "is a URL"},
		{"@nas2:tank", "no user before the @"},
		{"root@:tank", "is no host name"},
		{"-oProxyCommand=x:tank", "is no host name"},
		{"-x@nas2:tank", "is no host name"},
	}
	for _, tt := range tests {
		t.Run(tt.arg, func(t *testing.T) {
			got, err := parseEndpoint(tt.arg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, error %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestParseEndpoints(t *testing.T) {
	_, _, err := parseEndpoints("nas1:tank", "nas2:tank")
	if err == nil || !strings.Contains(err.Error(), "nas1:tank and nas2:tank are both on other systems") {
		t.Errorf("both remote: %v", err)
	}
	if _, _, err = parseEndpoints("tank@x", "tank"); err == nil || !strings.HasPrefix(err.Error(), `source "tank@x":`) {
		t.Errorf("bad source: %v", err)
	}
	if _, _, err = parseEndpoints("tank", "tank@x"); err == nil || !strings.HasPrefix(err.Error(), `target "tank@x":`) {
		t.Errorf("bad target: %v", err)
	}
	from, to, err := parseEndpoints("tank/a", "root@nas2:backup/a")
	if err != nil || from.remote() || !to.remote() {
		t.Errorf("push: %v %v %v", from, to, err)
	}
}
