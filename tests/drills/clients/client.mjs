// A customer with Node's own fetch. Prints what it saw as one line of JSON.

const [base, name] = process.argv.slice(2);
const ORDER = { symbol: "WMT", side: "buy", type: "limit", qty: "1", limit_price: "75.00" };
let token = "";
let keys = 0;

const newKey = () => `${name}-${keys++}`;

async function ask(method, path, { body, key, status }) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (key) headers["X-Idempotency-Key"] = key;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (![status].flat().includes(answer.status)) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return { headers: answer.headers, said: text ? JSON.parse(text) : null };
}

const read = (path) => ask("GET", path, { status: 200 });
const write = (path, body, status = 201, key = newKey()) => ask("POST", path, { body, key, status });

async function page(path, idField) {
  const found = [];
  for (let next = ""; next !== null; ) {
    const { said } = await read(`${path}?limit=2${next && `&page_token=${encodeURIComponent(next)}`}`);
    found.push(...said.items.map((item) => item[idField]));
    next = said.next_page_token;
  }
  return found;
}

const person = { email: `${name}@example.com`, password: "correct horse battery" };
await write("/v1/users", person);
token = (await write("/v1/tokens", { ...person, grant_type: "password" }, 200)).said.access_token;
await write("/v1/deposits", { amount: "1000" });
const placed = [];
for (let n = 0; n < 5; n++) {
  const key = newKey();
  const { said } = await write("/v1/orders", ORDER, 201, key);
  const again = await write("/v1/orders", ORDER, 201, key);
  if (again.said.order_id !== said.order_id || !again.headers.get("idempotency-replayed")) {
    throw new Error("a repeat is not answered as one");
  }
  placed.push(said.order_id);
}
await ask("DELETE", `/v1/orders/${placed[0]}`, { key: newKey(), status: [200, 202] });
await ask("HEAD", "/v1/account", { status: 200 });
const listed = await page("/v1/orders", "order_id");
const entries = (await page("/v1/ledger", "entry_id")).length;
let answered = 0;
for (let n = 0; n < 200; n++) {
  await (n % 4 ? read("/v1/account") : write("/v1/deposits", { amount: "1" }));
  answered++;
}
const { cash } = (await read("/v1/account")).said;
console.log(JSON.stringify({ placed, listed, entries, answered, cash }));
