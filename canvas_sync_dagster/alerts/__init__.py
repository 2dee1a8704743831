"""Alerts: what is wrong in a tenant, which of it is news for a channel, and the messages.

`facts` reads a tenant's database, `conditions` decides what is wrong, `due` decides what is news for a channel,
`messages` writes the text, `delivery` sends it, and `rounds` connects them for all tenants. None of them imports Dagster.
"""
