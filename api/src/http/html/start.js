"use strict";
SwaggerUIBundle({
  url: "docs/openapi.yaml",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  // Nothing but this server is asked, a validator of documents neither.
  validatorUrl: null,
});
