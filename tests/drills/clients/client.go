// A customer with Go's net/http. Prints what it saw as one line of JSON.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

var (
	base, name  = os.Args[1], os.Args[2]
	accessToken string
	keys        int
	client      = &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 10 * time.Second}}
)

type object = map[string]interface{}

func newKey() string {
	keys++
	return fmt.Sprintf("%s-%d", name, keys)
}

func ask(method, path string, body object, key string, waits bool, statuses ...int) (object, http.Header) {
	var content io.Reader
	if body != nil {
		encoded, _ := json.Marshal(body)
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequest(method, base+path, content)
	must(err)
	if accessToken != "" {
		request.Header.Set("Authorization", "Bearer "+accessToken)
	}
	if key != "" {
		request.Header.Set("X-Idempotency-Key", key)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if waits {
		request.Header.Set("Expect", "100-continue")
	}
	answer, err := client.Do(request)
	must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body) // to its end: only then is the connection used again
	must(err)
	for _, status := range statuses {
		if answer.StatusCode == status {
			said := object{}
			if len(text) > 0 {
				must(json.Unmarshal(text, &said))
			}
			return said, answer.Header
		}
	}
	panic(fmt.Sprintf("%s %s: %d %s", method, path, answer.StatusCode, text))
}

func page(path, idField string) []string {
	found := []string{}
	next := ""
	for {
		said, _ := ask("GET", path+"?limit=2"+next, nil, "", false, 200)
		for _, item := range said["items"].([]interface{}) {
			found = append(found, item.(object)[idField].(string))
		}
		more, ok := said["next_page_token"].(string)
		if !ok {
			return found
		}
		next = "&page_token=" + url.QueryEscape(more)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	person := object{"email": name + "@example.com", "password": "correct horse battery"}
	ask("POST", "/v1/users", person, newKey(), false, 201)
	person["grant_type"] = "password"
	said, _ := ask("POST", "/v1/tokens", person, newKey(), false, 200)
	accessToken = said["access_token"].(string)
	ask("POST", "/v1/deposits", object{"amount": "1000"}, newKey(), true, 201)
	order := object{"symbol": "WMT", "side": "buy", "type": "limit", "qty": "1", "limit_price": "75.00"}
	placed := []string{}
	for n := 0; n < 5; n++ {
		key := newKey()
		first, _ := ask("POST", "/v1/orders", order, key, false, 201)
		again, headers := ask("POST", "/v1/orders", order, key, n == 4, 201)
		if first["order_id"] != again["order_id"] || headers.Get("Idempotency-Replayed") == "" {
			panic("a repeat is not answered as one")
		}
		placed = append(placed, first["order_id"].(string))
	}
	ask("DELETE", "/v1/orders/"+placed[0], nil, newKey(), false, 200, 202)
	ask("HEAD", "/v1/account", nil, "", false, 200)
	listed := page("/v1/orders", "order_id")
	entries := len(page("/v1/ledger", "entry_id"))
	answered := 0
	for n := 0; n < 200; n++ {
		if n%4 == 0 {
			ask("POST", "/v1/deposits", object{"amount": "1"}, newKey(), false, 201)
		} else {
			ask("GET", "/v1/account", nil, "", false, 200)
		}
		answered++
	}
	account, _ := ask("GET", "/v1/account", nil, "", false, 200)
	must(json.NewEncoder(os.Stdout).Encode(object{
		"placed": placed, "listed": listed, "entries": entries, "answered": answered, "cash": account["cash"],
	}))
}
