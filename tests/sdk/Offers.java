// The JDK's own client as it is by default: without TLS it offers to go on in HTTP/2 (`Upgrade: h2c`), on every request. Arguments: the
// gateway, a bearer token, and for each request its method, its path, and its body. Prints the status and the body of each.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

public class Offers {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int at = 2; at + 2 < args.length; at += 3) {
            var body = args[at + 2].isEmpty() ? BodyPublishers.noBody() : BodyPublishers.ofString(args[at + 2]);
            var request = HttpRequest.newBuilder(URI.create(args[0] + args[at + 1]))
                .header("Authorization", "Bearer " + args[1]);
            if (!args[at + 2].isEmpty()) {
                request.header("Content-Type", "application/json");
            }
            var response = client.send(request.method(args[at], body).build(), BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.version() + " " + response.body());
        }
    }
}
