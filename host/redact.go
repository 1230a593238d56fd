package host

import (
	"bytes"
	"encoding/json"
	"strings"
)

const masked = "********"

// secretMember tells whether a member of that name holds a secret, wherever it stands.
func secretMember(name string) bool {
	switch name = strings.ToLower(name); name {
	case "encryption_key", "private_key", "otp_token", "api_key", "auth_token", "reconnect_token", "secret", "passphrase", "rfc_str":
		return true
	}
	return name == "token" || name == "password" || strings.HasSuffix(name, "_password")
}

// redact masks secrets in JSON. What is none is left out whole.
func redact(data json.RawMessage) json.RawMessage {
	if isNull(data) {
		return json.RawMessage("null")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return json.RawMessage("null")
	}
	return mustJSON(redactValue(v))
}

// redactValue masks secrets in a decoded value, which it may change. Numbers stay: the number of a key pair is no secret.
func redactValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			_, number := value.(json.Number)
			_, flag := value.(bool)
			if secretMember(name) && value != nil && !number && !flag {
				v[name] = masked
				continue
			}
			v[name] = redactValue(value)
		}
	case []any:
		for i := range v {
			v[i] = redactValue(v[i])
		}
	}
	return v
}

// redactCall masks secrets in the arguments of a method, also where they stand as such and have no name.
func redactCall(method string, args json.RawMessage) json.RawMessage {
	if isNull(args) {
		return json.RawMessage("[]")
	}
	var list []json.RawMessage
	if strings.HasPrefix(method, "auth.") && json.Unmarshal(args, &list) == nil {
		for i := range list {
			list[i] = mustJSON(masked)
		}
		return mustJSON(list)
	}
	return redact(args)
}
