# BEGIN warung
# Gives everything below this folder to proxy.php, which passes it on to the gateway.
# Apache hides this header from PHP unless told otherwise.
<IfModule mod_setenvif.c>
  SetEnvIfNoCase Authorization "(.+)" HTTP_AUTHORIZATION=$1
</IfModule>
<IfModule mod_rewrite.c>
  RewriteEngine On
  # Once the domain has its certificate, take the # away: tokens do not belong on plain http.
  #RewriteCond %{HTTPS} !=on
  #RewriteRule ^ - [F]
  # The certificate's renewal looks here.
  RewriteCond %{REQUEST_URI} !^/\.well-known/
  RewriteRule ^ - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]
  RewriteCond %{REQUEST_URI} !^/\.well-known/
  RewriteCond %{ENV:REDIRECT_STATUS} ^$
  RewriteRule ^ proxy.php [L]
</IfModule>
# END warung
