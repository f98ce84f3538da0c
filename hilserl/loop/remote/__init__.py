"""Actor and learner on two machines: a courier beside the actor and a server beside the learner keep two runs alike."""
