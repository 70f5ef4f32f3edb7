/*
 * A client built on Java's own TLS: a full handshake, and after a line on standard input a second visit.
 * Prints "full a" or "resumed b" a visit: what the handshake was, and which node answered.
 * Usage: java ClientJava ADDRESS PORT 1.2|1.3
 */
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.cert.X509Certificate;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

public class ClientJava {
    /** A resumed session is as old as the one that it resumes; Java has no other sign of it. */
    private static long created = -1;

    private static final class TrustAnyone implements X509TrustManager {
        @Override public void checkClientTrusted(X509Certificate[] chain, String type) { }
        @Override public void checkServerTrusted(X509Certificate[] chain, String type) { }
        @Override public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }

    private static void visit(SSLContext context, String address, int port, String version) throws Exception {
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(address, port)) {
            socket.setSoTimeout(10000);
            socket.setEnabledProtocols(new String[] {"TLSv" + version});
            socket.startHandshake();
            String request = "GET /50k.bin HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
            socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            InputStream in = socket.getInputStream();
            String answer = new String(in.readAllBytes(), StandardCharsets.ISO_8859_1);
            char node = answer.charAt(answer.indexOf("\r\n\r\n") + 4);
            boolean resumed = socket.getSession().getCreationTime() == created;
            created = socket.getSession().getCreationTime();
            System.out.println((resumed ? "resumed " : "full ") + node);
            System.out.flush();
        }
    }

    public static void main(String[] args) throws Exception {
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new TrustAnyone()}, null);
        int port = Integer.parseInt(args[1]);
        visit(context, args[0], port, args[2]);
        if (System.in.read() >= 0) {
            visit(context, args[0], port, args[2]);
        }
    }
}
