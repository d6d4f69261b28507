# BEGIN warung
# Gives /api, /media and /warung (the gateway's pages) of this folder to warung/proxy.php, which passes
# them on to the gateway, except for files that the site has there itself. Everything else is the
# site's, as if this were not here.
<IfModule mod_rewrite.c>
  RewriteEngine On
  # Once the domain has its certificate, take the # away: tokens do not belong on plain http.
  #RewriteCond %{HTTPS} !=on
  #RewriteRule ^(?:api|media|warung)(?:/|$) - [F]
  # Apache hides this header from PHP unless told otherwise.
  RewriteRule ^(?:api|media|warung)(?:/|$) - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]
  RewriteCond %{ENV:REDIRECT_STATUS} ^$
  RewriteCond %{REQUEST_FILENAME} !-f
  RewriteRule ^(?:api|media|warung)(?:/|$) warung/proxy.php [L]
</IfModule>
# END warung
