"""Requests and responses of HTTP streams, neutral to frameworks.

request      a client's resume id, start and format, from headers and query
response     status, headers and a body, which may be encoded
refusals     the small answer to an error
cors         the pages that may read a stream from another origin
hooks        calls of the application's hooks in the other colour
compression  content codings: their choice and their bytes (compressors: one per connection)
"""
