package host

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"

	"github.com/zferry/zferry/rpc"
)

const (
	// currentAPI is the newest version, with what is ours beside what TrueNAS has.
	currentAPI = "current"
	newestAPI  = "v27.0.0"
)

// versions lists the versions of the API that clients may ask for by path, as they are told them.
func versions() []string {
	return []string{
		"v25.04.0", "v25.04.1", "v25.04.2", "v25.10.0", "v25.10.1", "v25.10.2", "v25.10.5", "v26.0.0", "v27.0.0",
	}
}

// offeredIn tells whether a version of the API has the method. Those of our own are no part of any of TrueNAS's.
func offeredIn(api, method string) bool {
	return api == currentAPI || method != "replication.browse" && !strings.HasPrefix(method, "zferry.")
}

// errNoMethodHere is the answer to a call of a method that exists, but not in the version of the API that is spoken.
func errNoMethodHere(method string) error {
	service, name := "", method
	if dot := strings.LastIndexByte(method, '.'); dot >= 0 {
		service, name = method[:dot], method[dot+1:]
	}
	return rpc.Errorf(rpc.ENOMETHOD, "Method '%s' not found in '%s'", name, service)
}

// serveVersions lets any page read it: a browser asks for it before it knows which system it talks to.
func (h *Host) serveVersions(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	h.answerJSON(w, versions())
}

func (h *Host) serveBootID(w http.ResponseWriter, _ *http.Request) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		h.log.Error("the boot id is not known", "err", err)
		http.Error(w, "the boot id is not known", http.StatusInternalServerError)
		return
	}
	h.answerJSON(w, strings.TrimSpace(string(id)))
}

func (h *Host) answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		h.log.Debug("answer not sent", "err", err)
	}
}
