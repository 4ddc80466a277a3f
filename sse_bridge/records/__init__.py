"""The log's formats in bytes: records that a backend stores, ids that a reader sends back, pages that a read returns.

codec       the stored record and the announcement
continuity  the result of a read, and the judgement whether it continues a position or leaves a gap
ids         positions of several channels in one string, sent by clients
"""
