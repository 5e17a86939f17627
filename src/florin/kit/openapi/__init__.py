"""OpenAPI: the API's document, its examples and its documentation page."""
