import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A customer with the JDK's own client as it comes: it prefers HTTP/2, so in the clear it asks for h2c, and with
 * bodies, too. Prints what it saw as one line of JSON.
 */
public class Client {
    private static final String ORDER =
        "{\"symbol\": \"WMT\", \"side\": \"buy\", \"type\": \"limit\", \"qty\": \"1\", \"limit_price\": \"75.00\"}";

    private final HttpClient client = HttpClient.newHttpClient();
    private final String base;
    private final String name;
    private String token = "";
    private int keys = 0;

    Client(String base, String name) {
        this.base = base;
        this.name = name;
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println(new Client(arguments[0], arguments[1]).trade());
    }

    private String trade() throws Exception {
        String person = "{\"email\": \"" + name + "@example.com\", \"password\": \"correct horse battery\"";
        field("access_token", expect(201, write("POST", "/v1/users", person + "}", newKey(), false)));
        token = field("access_token",
            expect(200, write("POST", "/v1/tokens", person + ", \"grant_type\": \"password\"}", newKey(), false)));
        expect(201, write("POST", "/v1/deposits", "{\"amount\": \"1000\"}", newKey(), true));
        List<String> placed = new ArrayList<>();
        for (int n = 0; n < 5; n++) {
            String key = newKey();
            String id = field("order_id", expect(201, write("POST", "/v1/orders", ORDER, key, false)));
            HttpResponse<String> again = expect(201, write("POST", "/v1/orders", ORDER, key, n == 4));
            if (!id.equals(field("order_id", again)) || again.headers().firstValue("Idempotency-Replayed").isEmpty()) {
                throw new IllegalStateException("a repeat is not answered as one");
            }
            placed.add(id);
        }
        HttpResponse<String> cancelled = write("DELETE", "/v1/orders/" + placed.get(0), null, newKey(), false);
        if (cancelled.statusCode() != 200 && cancelled.statusCode() != 202) {
            throw new IllegalStateException(cancelled.statusCode() + " " + cancelled.body());
        }
        HttpRequest head = request("/v1/account").method("HEAD", HttpRequest.BodyPublishers.noBody()).build();
        expect(200, client.send(head, BodyHandlers.ofString()));
        List<String> listed = page("/v1/orders", "order_id");
        int entries = page("/v1/ledger", "entry_id").size();
        int answered = 0;
        for (int n = 0; n < 200; n++) {
            boolean isRead = n % 4 != 0;
            answered += isRead
                ? expect(200, client.send(request("/v1/account").build(), BodyHandlers.ofString())).statusCode() / 200
                : expect(201, write("POST", "/v1/deposits", "{\"amount\": \"1\"}", newKey(), false)).statusCode() / 201;
        }
        String cash = field("cash", client.send(request("/v1/account").build(), BodyHandlers.ofString()));
        return "{\"placed\": " + quoted(placed) + ", \"listed\": " + quoted(listed) + ", \"entries\": " + entries
            + ", \"answered\": " + answered + ", \"cash\": \"" + cash + "\"}";
    }

    private List<String> page(String path, String idField) throws Exception {
        List<String> found = new ArrayList<>();
        String token = "";
        do {
            String next = token.isEmpty() ? "" : "&page_token=" + token;
            HttpResponse<String> got =
                expect(200, client.send(request(path + "?limit=2" + next).build(), BodyHandlers.ofString()));
            Matcher ids = Pattern.compile("\"" + idField + "\":\"([^\"]+)\"").matcher(got.body());
            while (ids.find()) {
                found.add(ids.group(1));
            }
            Matcher more = Pattern.compile("\"next_page_token\":\"([^\"]+)\"").matcher(got.body());
            token = more.find() ? more.group(1) : "";
        } while (!token.isEmpty());
        return found;
    }

    private HttpResponse<String> write(String method, String path, String body, String key, boolean waits)
        throws Exception {
        HttpRequest.Builder request = request(path).header("X-Idempotency-Key", key);
        if (body == null) {
            request.method(method, HttpRequest.BodyPublishers.noBody());
        } else {
            request.header("Content-Type", "application/json").expectContinue(waits);
            request.method(method, HttpRequest.BodyPublishers.ofString(body));
        }
        return client.send(request.build(), BodyHandlers.ofString());
    }

    private HttpRequest.Builder request(String path) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(base + path));
        return token.isEmpty() ? request : request.header("Authorization", "Bearer " + token);
    }

    private String newKey() {
        return name + "-" + keys++;
    }

    private static HttpResponse<String> expect(int status, HttpResponse<String> got) {
        if (got.statusCode() != status) {
            throw new IllegalStateException(got.request().uri() + ": " + got.statusCode() + " " + got.body());
        }
        return got;
    }

    private static String field(String name, HttpResponse<String> got) {
        Matcher found = Pattern.compile("\"" + name + "\":\"([^\"]+)\"").matcher(got.body());
        if (!found.find()) {
            throw new IllegalStateException("no " + name + " in " + got.body());
        }
        return found.group(1);
    }

    private static String quoted(List<String> ids) {
        return "[\"" + String.join("\", \"", ids) + "\"]";
    }
}
